"""HTTP: JSON routes over the servicers that answer RPCs, the OpenAPI document, and the web page."""
