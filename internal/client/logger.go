package client

import (
	"context"
	"log/slog"

	"github.com/twmb/franz-go/pkg/kgo"
)

// slogAdapter hands franz-go's log lines to slog, one level quieter: what the
// library calls information is detail to a user of Millrace.
type slogAdapter struct{ logger *slog.Logger }

func loggerTo(logger *slog.Logger) kgo.Logger {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return slogAdapter{logger}
}

func (a slogAdapter) Level() kgo.LogLevel {
	ctx := context.Background()
	switch {
	case a.logger.Enabled(ctx, slog.LevelDebug):
		return kgo.LogLevelInfo
	case a.logger.Enabled(ctx, slog.LevelInfo):
		return kgo.LogLevelWarn
	case a.logger.Enabled(ctx, slog.LevelError):
		return kgo.LogLevelError
	default:
		return kgo.LogLevelNone
	}
}

func (a slogAdapter) Log(level kgo.LogLevel, message string, keyvals ...any) {
	a.logger.Log(context.Background(), slogLevel(level), message, keyvals...)
}

func slogLevel(level kgo.LogLevel) slog.Level {
	switch level {
	case kgo.LogLevelError:
		return slog.LevelError
	case kgo.LogLevelWarn:
		return slog.LevelWarn
	default:
		return slog.LevelDebug
	}
}
