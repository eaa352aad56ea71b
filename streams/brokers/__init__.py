"""The brokers this project can start on one machine, behind `streams.local.choose`."""
