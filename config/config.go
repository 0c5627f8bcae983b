// Package config holds the configuration that cloud-config serves when it is
// given no other: application.yml for every component, a file per component, and
// a file per component and profile where they differ.
package config

import "embed"

// Files are the configuration files, all in the root.
//
//go:embed *.yml
var Files embed.FS
