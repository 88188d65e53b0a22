"""Settings of a comparison: model, prompt, precisions, device, mode."""
