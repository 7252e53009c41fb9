package group

import (
	"flag"
	"os"
	"testing"
)

// TestMain sets how much the property tests try; -rapid.checks still overrides.
func TestMain(m *testing.M) {
	flag.Set("rapid.checks", "5000")
	flag.Set("rapid.steps", "60")
	flag.Parse()
	os.Exit(m.Run())
}
