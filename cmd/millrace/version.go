package main

import (
	"runtime"

	"github.com/spf13/cobra"
)

func (a *app) versionCommand() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Long:    "Print the version of this binary, of the Go toolchain that built it, and its platform.",
		Example: "  millrace version\n  millrace version -o json",
		Args:    takes(),
		RunE: func(*cobra.Command, []string) error {
			platform := runtime.GOOS + "/" + runtime.GOARCH
			return a.printOne(out, []string{"VERSION", "GO", "PLATFORM"}, row{
				cells: []string{version, runtime.Version(), platform},
				value: struct {
					Version  string `json:"version"`
					Go       string `json:"go"`
					Platform string `json:"platform"`
				}{version, runtime.Version(), platform},
			})
		},
	}
	out.register(cmd)
	return cmd
}
