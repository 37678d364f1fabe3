# What the firmware freezes: the port's own modules, asyncio, and the device library. The kernels are in C.
# TRIMTAB_LIBRARY names the folder that holds the package trimtab where it does not stand beside this one.
import os

freeze("$(PORT_DIR)/modules")
include("$(MPY_DIR)/extmod/asyncio")
package("trimtab", base_path=os.environ.get("TRIMTAB_LIBRARY", "../device_lib"))
