// Updates of many weights at once, for the usual case: 8 residual bits or an accumulator, nothing random.
#ifndef TRIMTAB_UPDATE_ROWS_H
#define TRIMTAB_UPDATE_ROWS_H

#include "wide.h"

// n weights from number j on, all of output channel o, by the gradient sums dw.
void trimtab_update_row(const struct update *up, int32_t j, int32_t o, const int32_t *dw, int32_t n);

// n weights from number j on, one of each channel; kept: their channels, or null for 0, 1, ...
void trimtab_update_channels(const struct update *up, int32_t j, const uint16_t *kept, const int32_t *dw, int32_t n);

#endif
