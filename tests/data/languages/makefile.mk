# What is built, and how.
CC ?= cc
CFLAGS := -O2 -Wall $(EXTRA)
SOURCES = $(wildcard src/*.c)
OBJECTS = $(SOURCES:.c=.o)
VERSION := $(shell git describe --tags)

ifeq ($(DEBUG),1)
CFLAGS += -g
else
CFLAGS += -DNDEBUG
endif

.PHONY: all clean test install

all: shop

shop: $(OBJECTS)
	$(CC) -o $@ $^ $(LDFLAGS)

%.o: %.c include/shop.h
	$(CC) $(CFLAGS) -c -o $@ $<

test: shop
	@for file in tests/*.txt; do \
		./shop < $$file || exit 1; \
	done
	@echo "all of $(VERSION) passed"

install: all
	install -d $(DESTDIR)$(PREFIX)/bin
	install shop $(DESTDIR)$(PREFIX)/bin

define BANNER
shop $(VERSION)
endef

clean:
	rm -f shop $(OBJECTS)

-include $(OBJECTS:.o=.d)
