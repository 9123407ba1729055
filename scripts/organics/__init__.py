"""What `make_organics.py` is made of: molecules enumerated by code, frames labelled with GFN2-xTB, files of both."""
