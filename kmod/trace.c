// SPDX-License-Identifier: GPL-2.0
/* The trace events' code, made of their descriptions. */
#define CREATE_TRACE_POINTS
#include "trace.h"
