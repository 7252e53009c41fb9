package millrace_test

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// rooms is the floor plan: each room with the rooms that its production code
// may import. A room imports lower floors only, never its own or a higher one.
// The shared words in record are the ground (floor -1) that all rooms stand on.
// Change the plan, this table and ARCHITECTURE.md in one commit.
var rooms = map[string]struct {
	floor     int
	mayImport []string
}{
	"record":                 {-1, nil},
	"window":                 {0, []string{"record"}},
	"codec":                  {0, []string{"record"}},
	"agg":                    {1, []string{"codec", "record"}},
	"examples":               {0, nil},
	"internal/vfs":           {0, nil},
	"internal/vfs/crashfs":   {1, []string{"internal/vfs"}},
	"internal/batch":         {0, []string{"record"}},
	"internal/wire":          {1, []string{"internal/batch", "record"}},
	"internal/wire/wiretest": {2, []string{"internal/wire"}},
	"internal/log":           {1, []string{"internal/batch", "internal/vfs", "record"}},
	"internal/group":         {1, []string{"record"}},
	"internal/txn":           {1, []string{"record"}},
	"internal/auth":          {1, nil},
	"internal/client":        {1, []string{"internal/batch", "record"}},
	"internal/state":         {1, []string{"codec", "record", "window"}},
	"internal/store":         {1, []string{"record"}},
	"internal/broker":        {2, []string{"internal/auth", "internal/batch", "internal/group", "internal/log", "internal/txn", "internal/vfs", "internal/wire", "record"}},
	"internal/topology":      {2, []string{"agg", "codec", "internal/state", "record", "window"}},
	"internal/engine":        {3, []string{"internal/client", "internal/state", "internal/store", "internal/topology", "record", "window"}},
	"millrace":               {4, []string{"agg", "codec", "internal/broker", "internal/client", "internal/engine", "internal/topology", "internal/vfs", "record", "window"}},
	"millracetest":           {5, []string{"internal/topology", "millrace", "record"}},
	"internal/clicks":        {5, []string{"agg", "codec", "internal/client", "millrace", "record", "window"}},
	"internal/web":           {5, []string{"record"}},
	"internal/where":         {0, []string{"record"}},
	"internal/verify":        {2, []string{"internal/client", "record"}},
	"cmd/millrace":           {6, []string{"examples", "internal/broker", "internal/clicks", "internal/client", "internal/engine", "internal/group", "internal/log", "internal/verify", "internal/vfs", "internal/web", "internal/where", "record"}},
}

// exclusive lists the packages that only the named rooms may import.
var exclusive = map[string][]string{
	"github.com/twmb/franz-go/pkg/kgo":  {"internal/client"},
	"github.com/twmb/franz-go/pkg/kadm": {"internal/client"},
	"github.com/twmb/franz-go/pkg/kmsg": {"internal/client", "internal/wire", "internal/wire/wiretest", "internal/broker"},
	"github.com/spf13/cobra":            {"cmd/millrace"},
}

// TestFloors fails when a room imports what its place in the house forbids.
func TestFloors(t *testing.T) {
	const module = "millrace/"
	seen := 0
	for _, pkg := range listPackages(t) {
		room := strings.TrimPrefix(pkg.ImportPath, module)
		if strings.HasPrefix(room, "examples/") || len(pkg.GoFiles) == 0 {
			continue
		}
		plan, known := rooms[room]
		if !known {
			t.Errorf("%s is not in the floor plan: give it a floor and its allowed imports", room)
			continue
		}
		seen++
		for _, imported := range pkg.Imports {
			if below, ours := strings.CutPrefix(imported, module); ours {
				if !slices.Contains(plan.mayImport, below) {
					t.Errorf("%s imports %s: the floor plan does not allow it", room, below)
				} else if rooms[below].floor >= plan.floor {
					t.Errorf("%s (floor %d) imports %s (floor %d): only lower floors may be imported", room, plan.floor, below, rooms[below].floor)
				}
			}
			if owners, ok := exclusive[imported]; ok && !slices.Contains(owners, room) {
				t.Errorf("%s imports %s: only %v may", room, imported, owners)
			}
		}
	}
	if seen < 2 {
		t.Fatalf("the floor test saw %d rooms: it is not looking at the house", seen)
	}
}

type listedPackage struct {
	ImportPath string
	GoFiles    []string // none where only tests live
	Imports    []string // of production code only
}

func listPackages(t *testing.T) []listedPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,GoFiles,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listedPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var pkg listedPackage
		if err := dec.Decode(&pkg); err != nil {
			t.Fatal(err)
		}
		all = append(all, pkg)
	}
	return all
}
