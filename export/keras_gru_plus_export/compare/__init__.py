"""`keras-gru-plus compare`: variants against each other on a data set, and the best one for a device."""
