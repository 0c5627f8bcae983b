package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// sandboxes knows pods by what the container runtime says of them. It has a pod's address before the first program of the pod runs, where
// the API server may hear of it seconds later.
type sandboxes struct {
	runtime cri.RuntimeServiceClient
	mu      sync.Mutex
	names   map[string]string // of a pod, with its namespace, by its address
	seen    map[string]bool   // by the sandbox's number
}

func newSandboxes(socket string) (*sandboxes, error) {
	connection, err := grpc.NewClient(socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	return &sandboxes{runtime: cri.NewRuntimeServiceClient(connection), names: map[string]string{}, seen: map[string]bool{}}, nil
}

// LookupPod tells the name of the pod of an address, as "namespace/name".
func (s *sandboxes) LookupPod(address string) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.look(ctx); err != nil {
		slog.Error("the container runtime does not tell its pods", "err", err)
	}
	name, ok := s.names[address]
	return name, ok
}

// look learns of the pods that are new.
func (s *sandboxes) look(ctx context.Context) error {
	list, err := s.runtime.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
	if err != nil {
		return err
	}
	for _, sandbox := range list.Items {
		if s.seen[sandbox.Id] || sandbox.State != cri.PodSandboxState_SANDBOX_READY {
			continue
		}
		status, err := s.runtime.PodSandboxStatus(ctx, &cri.PodSandboxStatusRequest{PodSandboxId: sandbox.Id})
		if err != nil {
			continue // it is gone since
		}
		s.seen[sandbox.Id] = true
		s.names[status.Status.Network.GetIp()] = sandbox.Metadata.Namespace + "/" + sandbox.Metadata.Name
	}
	return nil
}
