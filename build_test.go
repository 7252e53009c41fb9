package millrace_test

import (
	"strings"
	"testing"
	"time"

	"millrace"
	"millrace/codec"
	"millrace/window"
)

// TestBuildReports holds each fault of a description against what Build says.
func TestBuildReports(t *testing.T) {
	bad := millrace.NewTopic("no/topic", codec.String, codec.JSON[Click]())
	for name, c := range map[string]struct {
		describe func(*millrace.App)
		want     []string
	}{
		"nothing":     {func(*millrace.App) {}, []string{"reads nothing", "begin with From"}},
		"topic names": {func(a *millrace.App) { a.From(bad).To(bad) }, []string{`has the character '/'`}},
		"a dead letter topic": {func(a *millrace.App) {
			a.From(raw).TryMap(parse, millrace.DeadLetter(millrace.NewTopic("", codec.Bytes, codec.Bytes)))
		}, []string{"DeadLetter to a topic without a name"}},
		"key codec of another type": {func(a *millrace.App) {
			a.From(clicks).GroupBy(user, millrace.KeyCodec(codec.Int64)).Count("n")
		}, []string{"KeyCodec is for another type", "codec of string"}},
		"value codec of another type": {func(a *millrace.App) {
			a.From(clicks).GroupBy(user).Count("n", millrace.ValueCodec(codec.Int64))
		}, []string{"ValueCodec is for another type", "codec of millrace_test.Click"}},
		"options that mean nothing": {func(a *millrace.App) {
			s := a.From(clicks, millrace.RecordKey())
			s.Filter(isSale, millrace.Disorder(time.Second))
			s.GroupBy(user, millrace.EmitFinal()).Count("n", millrace.WallClock(), millrace.Named("m"))
		}, []string{
			"RecordKey or KeyCodec has no meaning at From", "Disorder has no meaning at Filter", "EmitBoth or WallClock has no meaning at GroupBy",
			"WallClock has no meaning at an aggregate without windows", "Named has no meaning at an aggregate without windows",
		}},
		"another app's stream": {func(a *millrace.App) {
			a.From(clicks).Merge(millrace.New("other").From(clicks))
		}, []string{"Merge of a stream of another App"}},
		"windows of nothing": {func(a *millrace.App) {
			a.From(clicks).GroupBy(user).Window(window.Spec{}).Count("n")
		}, []string{"window size 0s: it must be positive"}},
	} {
		t.Run(name, func(t *testing.T) {
			app := millrace.New("faulty")
			c.describe(app)
			topology, err := app.Build()
			if err == nil || topology != nil {
				t.Fatal("no fault was reported")
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q is missing in\n%v", part, err)
				}
			}
			if name != "nothing" && !strings.Contains(err.Error(), "build_test.go:") {
				t.Errorf("no line of the program in\n%v", err)
			}
		})
	}
	if _, err := millrace.New("a/b").Build(); err == nil || !strings.Contains(err.Error(), `application id "a/b"`) {
		t.Errorf("%v", err)
	}
}
