package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"

	"tienda/test/digitalocean"
)

// kubeconfig is what is read of a file of kubectl's.
type kubeconfig struct {
	Current  string `yaml:"current-context"`
	Contexts []struct {
		Name    string
		Context struct{ Cluster, User string }
	}
	Clusters []struct {
		Name    string
		Cluster struct {
			Server    string
			Authority string `yaml:"certificate-authority"`
			Data      string `yaml:"certificate-authority-data"`
		}
	}
	Users []struct {
		Name string
		User struct {
			Token           string
			Certificate     string `yaml:"client-certificate"`
			CertificateData string `yaml:"client-certificate-data"`
			Key             string `yaml:"client-key"`
			KeyData         string `yaml:"client-key-data"`
		}
	}
}

// access are the credentials of a file's current context, for the emulated API to hand out.
func access(path string) (digitalocean.Access, error) {
	var found digitalocean.Access
	text, err := os.ReadFile(path)
	if err != nil {
		return found, err
	}
	var file kubeconfig
	if err := yaml.Unmarshal(text, &file); err != nil {
		return found, fmt.Errorf("%s: %w", path, err)
	}
	// content is what stands in the file, or in another one that it names.
	content := func(data, name string) (content []byte) {
		switch {
		case data != "":
			var wrong error
			content, wrong = base64.StdEncoding.DecodeString(data)
			err = errors.Join(err, wrong)
		case name != "":
			if !filepath.IsAbs(name) {
				name = filepath.Join(filepath.Dir(path), name)
			}
			var wrong error
			content, wrong = os.ReadFile(name)
			err = errors.Join(err, wrong)
		}
		return content
	}
	for _, c := range file.Contexts {
		if c.Name != file.Current {
			continue
		}
		for _, cluster := range file.Clusters {
			if cluster.Name == c.Context.Cluster {
				found.Server, found.CA = cluster.Cluster.Server, content(cluster.Cluster.Data, cluster.Cluster.Authority)
			}
		}
		for _, user := range file.Users {
			if user.Name == c.Context.User {
				found.Token = user.User.Token
				found.Certificate, found.CertificateKey = content(user.User.CertificateData, user.User.Certificate), content(user.User.KeyData, user.User.Key)
			}
		}
	}
	if err == nil && (found.Server == "" || found.Token == "" && len(found.Certificate) == 0) {
		err = errors.New("its current context names no cluster and user with a token or a certificate")
	}
	if err != nil {
		return found, fmt.Errorf("%s: %w", path, err)
	}
	return found, nil
}
