module Slug
  SEPARATOR = "-"

  def self.of(title)
    words = title.downcase.scan(/[a-z0-9]+/)
    words.⟦join(SEPARATOR)⟧
  end

  def self.unique(title, taken)
    slug = of(title)
    number = 2
    while taken.include?(slug)
      slug = "#{of(title)}#{SEPARATOR}#{number}"
      number += 1
    end
    slug
  end
end
