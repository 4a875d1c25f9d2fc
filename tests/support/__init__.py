"""What tests of the installed product share."""
