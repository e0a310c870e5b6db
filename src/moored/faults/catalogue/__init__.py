"""The faults as frozen values, by the layer they are on.  :mod:`moored.faults.schedule` has all."""
