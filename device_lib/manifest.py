# Freeze the device library into a firmware: include("<this folder>/manifest.py")
package("trimtab")
