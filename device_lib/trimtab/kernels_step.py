"""Plain kernels of inverted residual blocks with step-function gradients and a trained gain (MobileTL)."""
