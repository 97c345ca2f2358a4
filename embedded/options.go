package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"path"
	"time"

	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/metadata"
	"github.com/waltz-log/waltz/server"
	"github.com/waltz-log/waltz/storage"
)

// Mode says whether Open may create a log.
type Mode uint8

const (
	// OpenOrCreate opens the log in the folder, or creates one.
	OpenOrCreate Mode = iota
	// OpenExisting opens the log in the folder; none is a *[NoLogError].
	OpenExisting
	// CreateNew creates a log; one that is there is a *[LogExistsError].
	CreateNew
)

// Options of an embedded Waltz. The zero value of each field but Dir works.
type Options struct {
	Dir         string          // folder of the log, made if need be; required
	FS          vfs.FS          // default: the operating system's
	Mode        Mode            // default OpenOrCreate
	Partitions  int             // of the log, up to PartitionsMax: if given, an existing log must have as many; default 1 for a new one
	ClusterName string          // of a new log, for people; default "embedded"
	Listen      string          // TCP address to serve other processes on, port 0 picks one; default: none
	Server      server.Options  // limits of the server; identity, metadata and replicas are filled in
	Storage     storage.Options // limits of the storage; folder, file system and cluster key are filled in
	ReadyMax    time.Duration   // how long Open waits for all partitions, but for damaged ones; default 30 s
	Logger      *slog.Logger    // default: none
}

// PartitionsMax is the highest number of partitions that a log can have.
const PartitionsMax = metadata.PartitionsMax

const (
	partitionsDefault = 1
	nameDefault       = "embedded"
	readyDefault      = 30 * time.Second
)

func (o Options) withDefaults() (Options, error) {
	var errs []error
	if o.Dir == "" {
		errs = append(errs, errors.New("the folder is not set"))
	}
	if o.Partitions < 0 || o.Partitions > PartitionsMax {
		errs = append(errs, fmt.Errorf("%d partitions, must be from 1 to %d", o.Partitions, PartitionsMax))
	}
	if o.Mode > CreateNew {
		errs = append(errs, fmt.Errorf("unknown mode %d", o.Mode))
	}
	if o.ReadyMax < 0 {
		errs = append(errs, fmt.Errorf("ReadyMax is %v", o.ReadyMax))
	}
	if o.ReadyMax == 0 {
		o.ReadyMax = readyDefault
	}
	if o.FS == nil {
		o.FS = vfs.OS{}
	}
	if o.ClusterName == "" {
		o.ClusterName = nameDefault
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Dir = path.Clean(o.Dir)
	return o, errors.Join(errs...)
}
