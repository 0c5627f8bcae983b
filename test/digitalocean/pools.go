package digitalocean

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/digitalocean/godo"
	"github.com/google/uuid"
)

func checkPool(name, size string, count int, scales bool, least, most int) error {
	if !nameOfCluster.MatchString(name) {
		return unprocessable("validation error: the name of a node pool must consist of lower case alphanumeric characters or '-'")
	}
	if !slices.Contains(sizes(), size) {
		return unprocessable("validation error: invalid size slug %q", size)
	}
	if !scales && count < 1 {
		return unprocessable("validation error: count must be at least 1")
	}
	if scales && (least < 1 || least > most) {
		return unprocessable("validation error: min_nodes must be at least 1 and at most max_nodes")
	}
	return nil
}

func (s *Server) newPool(cluster string, request *godo.KubernetesNodePoolCreateRequest) *godo.KubernetesNodePool {
	p := &godo.KubernetesNodePool{ID: uuid.NewString(), Name: request.Name, Size: request.Size, Count: request.Count, Labels: request.Labels, Taints: request.Taints,
		AutoScale: request.AutoScale, MinNodes: request.MinNodes, MaxNodes: request.MaxNodes}
	p.Tags = append([]string{"k8s", "k8s:" + cluster, "k8s:worker"}, request.Tags...)
	s.populate(p)
	return p
}

// populate gives a pool as many nodes as it is to have.
func (s *Server) populate(p *godo.KubernetesNodePool) {
	if p.AutoScale {
		p.Count = min(max(p.Count, p.MinNodes), p.MaxNodes)
	}
	p.Nodes = p.Nodes[:min(len(p.Nodes), p.Count)]
	for len(p.Nodes) < p.Count {
		p.Nodes = append(p.Nodes, &godo.KubernetesNode{ID: uuid.NewString(), Name: fmt.Sprintf("%s-%s", p.Name, uuid.NewString()[:5]), DropletID: fmt.Sprint(500000000 + len(p.Nodes)),
			Status: &godo.KubernetesNodeStatus{State: "running"}, CreatedAt: s.options.Now(), UpdatedAt: s.options.Now()})
	}
}

func (s *Server) pools() {
	s.cluster("GET", "/node_pools", func(r *http.Request, e *entry[godo.KubernetesCluster]) (int, any, error) {
		return page(r, "node_pools", e.value.NodePools)
	})
	s.cluster("POST", "/node_pools", func(r *http.Request, e *entry[godo.KubernetesCluster]) (int, any, error) {
		request, err := read[godo.KubernetesNodePoolCreateRequest](r)
		if err != nil {
			return 0, nil, err
		}
		if err := checkPool(request.Name, request.Size, request.Count, request.AutoScale, request.MinNodes, request.MaxNodes); err != nil {
			return 0, nil, err
		}
		if slices.ContainsFunc(e.value.NodePools, func(p *godo.KubernetesNodePool) bool { return p.Name == request.Name }) {
			return 0, nil, unprocessable("validation error: a node pool with this name already exists")
		}
		p := s.newPool(e.value.ID, &request)
		e.value.NodePools = append(e.value.NodePools, p)
		return http.StatusCreated, map[string]any{"node_pool": p}, nil
	})
	one := func(method string, h func(*http.Request, *entry[godo.KubernetesCluster], *godo.KubernetesNodePool) (int, any, error)) {
		s.cluster(method, "/node_pools/{pool}", func(r *http.Request, e *entry[godo.KubernetesCluster]) (int, any, error) {
			for _, p := range e.value.NodePools {
				if p.ID == r.PathValue("pool") {
					return h(r, e, p)
				}
			}
			return 0, nil, notFound()
		})
	}
	one("GET", func(_ *http.Request, _ *entry[godo.KubernetesCluster], p *godo.KubernetesNodePool) (int, any, error) {
		return http.StatusOK, map[string]any{"node_pool": p}, nil
	})
	one("PUT", func(r *http.Request, e *entry[godo.KubernetesCluster], p *godo.KubernetesNodePool) (int, any, error) {
		request, err := read[godo.KubernetesNodePoolUpdateRequest](r)
		if err != nil {
			return 0, nil, err
		}
		changed := *p
		for into, value := range map[*int]*int{&changed.Count: request.Count, &changed.MinNodes: request.MinNodes, &changed.MaxNodes: request.MaxNodes} {
			if value != nil {
				*into = *value
			}
		}
		if request.AutoScale != nil {
			changed.AutoScale = *request.AutoScale
		}
		if request.Name != "" {
			changed.Name = request.Name
		}
		if request.Tags != nil {
			changed.Tags = append([]string{"k8s", "k8s:" + e.value.ID, "k8s:worker"}, request.Tags...)
		}
		if request.Labels != nil {
			changed.Labels = request.Labels
		}
		if err := checkPool(changed.Name, changed.Size, changed.Count, changed.AutoScale, changed.MinNodes, changed.MaxNodes); err != nil {
			return 0, nil, err
		}
		s.populate(&changed)
		*p = changed
		return http.StatusAccepted, map[string]any{"node_pool": p}, nil
	})
	one("DELETE", func(_ *http.Request, e *entry[godo.KubernetesCluster], p *godo.KubernetesNodePool) (int, any, error) {
		e.value.NodePools = slices.DeleteFunc(e.value.NodePools, func(other *godo.KubernetesNodePool) bool { return other == p })
		return http.StatusNoContent, nil, nil
	})
}
