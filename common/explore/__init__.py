"""Write a page to explore the latent spaces of finished runs. See README.md."""
