// Package terraform tests what is in deploy/terraform: that it is valid by the schemas of the real providers, that its own tests pass
// with OpenTofu and, where it is installed, Terraform, what its plans contain, and what becomes of a state when applies meet, are
// killed, or lose it. No provider and no account is needed: providers are replayed from recordings, and the store is a stand-in.
package terraform
