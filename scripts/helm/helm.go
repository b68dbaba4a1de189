//go:build tools

// Package helm names the program that scripts/tools.sh builds, so that go.mod pins it.
package helm

import _ "helm.sh/helm/v4/cmd/helm"
