package broker

import (
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// alterConfigs replaces all explicit settings of a topic (the older request).
func (b *Broker) alterConfigs(_ *conn, req *kmsg.AlterConfigsRequest) reply {
	return later(func() response {
		resp := req.ResponseKind().(*kmsg.AlterConfigsResponse)
		asked := countNames(req.Resources, func(r kmsg.AlterConfigsRequestResource) string { return r.ResourceName })
		for _, resource := range req.Resources {
			err := b.alter(resource.ResourceType, resource.ResourceName, req.ValidateOnly, func(settings map[string]string) error {
				if asked[resource.ResourceName] > 1 {
					return errNamedTwice
				}
				clear(settings)
				for _, config := range resource.Configs {
					if err := setSetting(settings, config.Name, config.Value); err != nil {
						return err
					}
				}
				return nil
			})
			r := kmsg.NewAlterConfigsResponseResource()
			r.ResourceType, r.ResourceName = resource.ResourceType, resource.ResourceName
			r.ErrorCode, r.ErrorMessage = codeOf(err), textOf(err)
			resp.Resources = append(resp.Resources, r)
		}
		return resp
	})
}

// incrementalAlterConfigs changes single settings of a topic.
func (b *Broker) incrementalAlterConfigs(_ *conn, req *kmsg.IncrementalAlterConfigsRequest) reply {
	return later(func() response {
		resp := req.ResponseKind().(*kmsg.IncrementalAlterConfigsResponse)
		asked := countNames(req.Resources, func(r kmsg.IncrementalAlterConfigsRequestResource) string { return r.ResourceName })
		for _, resource := range req.Resources {
			err := b.alter(resource.ResourceType, resource.ResourceName, req.ValidateOnly, func(settings map[string]string) error {
				if asked[resource.ResourceName] > 1 {
					return errNamedTwice
				}
				return applyOperations(settings, resource.Configs)
			})
			r := kmsg.NewIncrementalAlterConfigsResponseResource()
			r.ResourceType, r.ResourceName = resource.ResourceType, resource.ResourceName
			r.ErrorCode, r.ErrorMessage = codeOf(err), textOf(err)
			resp.Resources = append(resp.Resources, r)
		}
		return resp
	})
}

var errNamedTwice = refused(kerr.InvalidRequest, "the resource occurs more than once in the request")

// alter changes one resource's settings, or checks whether it could.
func (b *Broker) alter(kind kmsg.ConfigResourceType, name string, validateOnly bool, edit func(map[string]string) error) error {
	switch kind {
	case kmsg.ConfigResourceTypeTopic:
		return b.catalog.configure(name, edit, validateOnly)
	case kmsg.ConfigResourceTypeBroker:
		return refused(kerr.InvalidRequest, "the broker's own settings are decided at its start: change its flags and restart it")
	}
	return refused(kerr.InvalidRequest, fmt.Sprintf("configs of resource type %s are not kept: only those of topics can be altered", kind))
}

func applyOperations(settings map[string]string, operations []kmsg.IncrementalAlterConfigsRequestResourceConfig) error {
	named := countNames(operations, func(o kmsg.IncrementalAlterConfigsRequestResourceConfig) string { return o.Name })
	for _, o := range operations {
		if named[o.Name] > 1 {
			return refused(kerr.InvalidRequest, fmt.Sprintf("config %s occurs more than once in the request", o.Name))
		}
		if err := applyOperation(settings, o); err != nil {
			return err
		}
	}
	return nil
}

func applyOperation(settings map[string]string, o kmsg.IncrementalAlterConfigsRequestResourceConfig) error {
	switch o.Op {
	case kmsg.IncrementalAlterConfigOpSet:
		return setSetting(settings, o.Name, o.Value)
	case kmsg.IncrementalAlterConfigOpDelete:
		if _, known := settingNamed(o.Name); !known {
			return refused(kerr.InvalidConfig, "unknown topic config "+o.Name)
		}
		delete(settings, o.Name)
		return nil
	case kmsg.IncrementalAlterConfigOpAppend, kmsg.IncrementalAlterConfigOpSubtract:
		return editList(settings, o)
	}
	return refused(kerr.InvalidRequest, fmt.Sprintf("config %s: unknown operation %d", o.Name, o.Op))
}

func setSetting(settings map[string]string, name string, value *string) error {
	if value == nil {
		return refused(kerr.InvalidConfig, fmt.Sprintf("topic config %s has no value", name))
	}
	if err := checkTopicSetting(name, *value); err != nil {
		return refusedBy(kerr.InvalidConfig, err)
	}
	settings[name] = *value
	return nil
}

// editList adds entries to a list or takes some out.
func editList(settings map[string]string, o kmsg.IncrementalAlterConfigsRequestResourceConfig) error {
	s, known := settingNamed(o.Name)
	if !known || s.kind != kmsg.ConfigTypeList || o.Value == nil {
		return refused(kerr.InvalidConfig, fmt.Sprintf("config %s: only a list can be appended to or subtracted from", o.Name))
	}
	current, _ := s.effective(settings)
	var entries []string
	for entry := range strings.SplitSeq(current, ",") {
		if entry != "" && !contains(*o.Value, entry) {
			entries = append(entries, entry)
		}
	}
	if o.Op == kmsg.IncrementalAlterConfigOpAppend && *o.Value != "" {
		entries = append(entries, *o.Value)
	}
	next := strings.Join(entries, ",")
	return setSetting(settings, o.Name, &next)
}

// contains reports whether a comma-separated list has the entry.
func contains(list, entry string) bool {
	for e := range strings.SplitSeq(list, ",") {
		if e == entry {
			return true
		}
	}
	return false
}
