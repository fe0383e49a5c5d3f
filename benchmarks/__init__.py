"""How fast the engines and the service are, beside other servers of the same model."""
