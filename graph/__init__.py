"""The gateway: GraphQL over HTTP, and the command line. Translates; decides nothing about points or money."""
