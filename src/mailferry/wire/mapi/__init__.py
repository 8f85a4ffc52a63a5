"""MAPI: values, properties, compressed RTF, and messages rebuilt as MIME. Pure; knows no file format."""
