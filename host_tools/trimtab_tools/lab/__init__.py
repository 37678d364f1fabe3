"""What must train to decide or to measure: trials, searches, comparisons. All of it runs on the PC."""
