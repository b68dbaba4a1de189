//go:build tools

// Package kubernetes names the programs that scripts/tools.sh builds from this module.
// Kubernetes' own module points into its source tree, so "go install" refuses it by name.
package kubernetes

import (
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kubectl"
)
