"""Networks: timm models behind one small interface."""
