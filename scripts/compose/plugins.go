//go:build tools

// Package compose names the programs that scripts/tools.sh builds from this module.
// Compose's own module excludes versions of others, so "go install" refuses it by name.
package compose

import (
	_ "github.com/docker/buildx/cmd/buildx"
	_ "github.com/docker/compose/v2/cmd"
)
