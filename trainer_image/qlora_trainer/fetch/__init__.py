"""`qlora-trainer fetch`: brings the sources and checks everything that can be wrong before a rank starts."""
