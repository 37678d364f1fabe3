"""From a graph and a plan to a package: records, where everything lies, what it costs, bytes."""
