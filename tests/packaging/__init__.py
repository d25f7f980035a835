"""The Debian package, without a machine to install it on."""
