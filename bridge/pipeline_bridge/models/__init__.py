"""What goes in and comes out, field for field as the specification has it."""
