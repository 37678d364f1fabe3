"""Plain kernels of lite residual modules: a grouped convolution with GroupNorm beside a frozen trunk (TinyTL)."""
