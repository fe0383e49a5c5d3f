"""The JSON adapter: HTTP routes over the same servicers that answer RPCs, the OpenAPI document and the web page."""
