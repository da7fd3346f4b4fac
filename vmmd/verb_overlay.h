/* SPDX-License-Identifier: GPL-2.0 */
#ifndef VMMD_VERB_OVERLAY_H
#define VMMD_VERB_OVERLAY_H

/* argv[0] is "overlay"; the exit status */
int verb_overlay(int argc, char **argv);

#endif
