package zipkin

import (
	"cmp"
	"slices"
)

// A Link says how often one service called another, and how often that failed.
type Link struct {
	Parent     string `json:"parent"`
	Child      string `json:"child"`
	CallCount  int64  `json:"callCount"`
	ErrorCount int64  `json:"errorCount,omitempty"`
}

// A linker counts links over traces. It follows
// zipkin2.internal.DependencyLinker of the reference implementation.
type linker map[linkKey]*Link

type linkKey struct{ parent, child string }

// add counts the links of one trace.
func (l linker) add(reports []*Span) {
	root := newTree(merge(reports))
	root.walk(func(n *node) { l.addNode(n, n == root) })
}

func (l linker) addNode(n *node, isRoot bool) {
	s := n.span
	kind := s.Kind
	switch {
	case kind == kindClient && len(n.children) > 0:
		return // the server's side tells more
	case kind == "" && (s.service() == "" || s.remoteService() == ""):
		return
	case kind == "": // both names are known: a call without its kind
		kind = kindClient
	}
	parent, child := s.service(), s.remoteService()
	if kind == kindServer || kind == kindConsumer {
		parent, child = child, parent
		if isRoot && parent == "" {
			return
		}
	}
	failed := s.failed()
	if kind == kindProducer || kind == kindConsumer {
		l.count(parent, child, failed) // the other end is the broker, not an ancestor
		return
	}
	if caller := n.caller; caller != nil && caller.service() != "" {
		// Some clients name the server as their own service: the way from
		// the caller to that service is a link as well.
		if kind == kindClient && s.service() != "" && s.service() != caller.service() {
			l.count(caller.service(), s.service(), false)
		}
		if kind == kindServer || parent == "" {
			parent = caller.service()
		}
		if caller.Kind == kindClient && s.ParentID == caller.ID {
			failed = failed || caller.failed() // its client was skipped above
		}
	}
	l.count(parent, child, failed)
}

func (l linker) count(parent, child string, failed bool) {
	if parent == "" || child == "" {
		return
	}
	key := linkKey{parent, child}
	link := l[key]
	if link == nil {
		link = &Link{Parent: parent, Child: child}
		l[key] = link
	}
	link.CallCount++
	if failed {
		link.ErrorCount++
	}
}

// links returns what was counted, sorted; never nil.
func (l linker) links() []Link {
	links := make([]Link, 0, len(l))
	for _, link := range l {
		links = append(links, *link)
	}
	slices.SortFunc(links, func(a, b Link) int {
		return cmp.Or(cmp.Compare(a.Parent, b.Parent), cmp.Compare(a.Child, b.Child))
	})
	return links
}
