"""What is kept between two starts: history, preferences, folders."""
