"""The explorer: a page that shows the latent spaces of finished runs. See README.md."""
