# frozen_string_literal: true

# A playlist. 🎵
require "json"

module Music
  LIMIT = 50

  class Playlist
    attr_reader :name, :songs

    def initialize(name, songs = [])
      @name = name
      @songs = songs
    end

    def add(title, seconds:)
      raise ArgumentError, "the list is full" if songs.size >= LIMIT

      songs << { title: title, seconds: seconds }
      self
    end

    def total
      songs.sum { |song| song[:seconds] }
    end

    def longest
      songs.max_by do |song|
        song[:seconds]
      end
    end

    def to_s
      if songs.empty?
        "#{name}: leer 🔇"
      else
        "#{name}: #{songs.map { |song| song[:title] }.join(', ')}"
      end
    end

    def self.read(path)
      data = JSON.parse(File.read(path), symbolize_names: true)
      new(data[:name], data[:songs])
    rescue JSON::ParserError => e
      warn "cannot read #{path}: #{e.message}"
      nil
    end
  end
end

puts Music::Playlist.new("Morgens").add("Wach auf", seconds: 180)
