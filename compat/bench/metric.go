package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"millrace/compat/target"
)

// metric returns a metric of a running Millrace, summed over its labels.
func metric(ctx context.Context, b *target.Broker, name string) (float64, error) {
	answer, err := get(ctx, b, "/metrics")
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	sum, found := 0.0, false
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		rest, ok := strings.CutPrefix(lines.Text(), name)
		if !ok || rest == "" || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		value, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		if err != nil {
			return 0, fmt.Errorf("metric %q: %w", lines.Text(), err)
		}
		sum, found = sum+value, true
	}
	if !found {
		return 0, fmt.Errorf("%s/metrics has no %s", b.HTTP, name)
	}
	return sum, nil
}

// get asks a running Millrace over HTTP.
func get(ctx context.Context, b *target.Broker, path string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, b.HTTP+path, nil)
	if err != nil {
		return nil, err
	}
	return http.DefaultClient.Do(request)
}
