# What the firmware freezes: the port's own modules, asyncio, and the device library but its viper kernels, because
# this firmware has the C kernels.
# TRIMTAB_LIBRARY names the folder that holds the package trimtab where it does not stand beside this one.
import os

freeze("$(PORT_DIR)/modules")
include("$(MPY_DIR)/extmod/asyncio")

library = os.environ.get("TRIMTAB_LIBRARY", "../device_lib")
root = os.path.join(library, "trimtab")
files = []
for folder, _, names in sorted(os.walk(root)):
    files += [
        os.path.relpath(os.path.join(folder, name), root) for name in sorted(names) if name.endswith(".py")
    ]
package("trimtab", files=[name for name in files if name != "kernels_viper.py"], base_path=library)
