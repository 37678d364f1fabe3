"""The report: what a plan trains, keeps and costs, as one page for a browser."""
