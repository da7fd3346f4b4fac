/* SPDX-License-Identifier: GPL-2.0 */
/* nobody traces a unit test */
#define TP_PROTO(...)		__VA_ARGS__
#define TP_ARGS(...)
#define TRACE_EVENT(name, proto, ...)	static inline void trace_##name(proto) { }
