package target

import (
	"fmt"
	"os"
	"strconv"
	"time"
)

// NumberFromEnv is a number that the environment sets, such as CYCLES.
func NumberFromEnv(name string, unset uint64) (uint64, error) {
	text := os.Getenv(name)
	if text == "" {
		return unset, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%s=%s: want a number above 0", name, text)
	}
	return n, nil
}

// SeedFromEnv is SEED, which replays a run, or one from the clock.
func SeedFromEnv() (uint64, error) {
	return NumberFromEnv("SEED", uint64(time.Now().UnixNano()))
}
