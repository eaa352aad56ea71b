"""`macaw gateway`: calls, streams and approvals over HTTP and JSON, for programs in any language."""
