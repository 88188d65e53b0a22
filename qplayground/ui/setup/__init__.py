"""What is chosen before a comparison: model, prompt, precisions, device, mode."""
