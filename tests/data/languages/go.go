// Package queue holds jobs until a worker takes them. 🚚
package queue

import (
	"errors"
	"fmt"
	"sync"
)

// ErrFull says that no more jobs fit.
var ErrFull = errors.New("queue: full")

const limit = 16

type Job struct {
	ID   int
	Name string
	Run  func() error
}

type Queue struct {
	mu   sync.Mutex
	jobs []Job
}

func (q *Queue) Push(job Job) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.jobs) >= limit {
		return fmt.Errorf("push %q: %w", job.Name, ErrFull)
	}
	q.jobs = append(q.jobs, job)
	return nil
}

func (q *Queue) Drain(done chan<- int) {
	for len(q.jobs) > 0 {
		job := q.jobs[0]
		q.jobs = q.jobs[1:]
		switch err := job.Run(); {
		case err == nil:
			done <- job.ID
		default:
			fmt.Println("Fehler 💥", err)
		}
	}
}

func Names(jobs map[int]Job) []string {
	names := make([]string, 0, len(jobs))
	for _, job := range jobs {
		names = append(names, job.Name)
	}
	return names
}
